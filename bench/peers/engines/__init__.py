"""One module for each engine: `version` and `settings` say what it is, `SCALE` how much it is given, `opened` runs it."""
