"""Watching: has the data drifted, does the champion still fit, is the data fresh?"""
