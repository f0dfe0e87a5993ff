"""The wire: generated messages, the codec between messages and arrays, statuses and reflection."""
