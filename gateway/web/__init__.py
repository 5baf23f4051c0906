"""Pages and static parts: plain HTML, CSS and ES modules, served as they are; nothing comes from another host."""
