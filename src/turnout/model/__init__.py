"""The speech model: encoder, CTC head, decoder, and how a configuration becomes one."""
