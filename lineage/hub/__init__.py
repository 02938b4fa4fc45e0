"""The Hugging Face Hub: its models in (`pull` from the Hub, `dump` from a table of it), and what is
known of one back onto its card (`push`). The client is imported when it is used."""
