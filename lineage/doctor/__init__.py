"""The health of a registry: what is damaged, contradicts itself, or is not on disk any more, what
it means and what mends it. Looking changes nothing; `repair` rebuilds what is derived."""
