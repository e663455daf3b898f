"""The two ways of delivery."""

AT_LEAST_ONCE, EXACTLY_ONCE = "at_least_once", "exactly_once"
BOTH = (AT_LEAST_ONCE, EXACTLY_ONCE)
