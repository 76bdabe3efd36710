"""Tables as people bring them: `files` opens, `figures` and `times` read what stands there, `progress` shows. Pure."""
