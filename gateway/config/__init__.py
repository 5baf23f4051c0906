"""The one configuration file: loading with line marks, the schema, checks across fields."""
