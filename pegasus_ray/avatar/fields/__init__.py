"""The paper's fields: networks over canonical space that say where points lie, how they move and what colour they have."""
