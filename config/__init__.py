"""Configuration that ships as data: templates, examples, schemas."""
