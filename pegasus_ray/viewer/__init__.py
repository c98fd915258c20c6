"""Pictures, videos, point files and the HTML report of a library, for people to look at."""
