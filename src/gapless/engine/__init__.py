"""Getting bars: plan what is missing, fetch it patiently, keep it durably."""
