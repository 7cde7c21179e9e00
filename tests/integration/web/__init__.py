"""Tests of applications: forms, templates, resources, asyncio, client addresses."""
