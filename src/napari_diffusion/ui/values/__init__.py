"""Values on screen: where they come from, to which layer they belong, how strong they smooth."""
