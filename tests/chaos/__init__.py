"""Real clusters under real load, to which real damage is done."""
