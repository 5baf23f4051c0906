"""The configuration file: schema, loading with places, checks across parts, differences."""
