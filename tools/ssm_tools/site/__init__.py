"""The site: pages rendered from notes, built with Material for MkDocs once per language."""
