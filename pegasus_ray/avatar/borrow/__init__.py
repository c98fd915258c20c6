"""Putting one avatar's attribute on another."""
