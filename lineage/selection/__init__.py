"""Selection: which organisms no longer justify their power bill, and why."""
