"""Types that every layer shares: grids, regions, dtypes, units, errors. Nothing here computes a filter."""
