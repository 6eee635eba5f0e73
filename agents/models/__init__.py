"""Models as chains of cuttable units."""
