"""Types that every layer shares: grids, regions, dtypes, units, errors. No filter is here."""
