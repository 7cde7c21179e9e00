"""Tests on a fake clock and in memory."""
