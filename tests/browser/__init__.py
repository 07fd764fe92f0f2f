"""Tests in a real browser: the system's Chromium, without a window."""
