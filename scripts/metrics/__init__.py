"""Logits and labels -> numbers; nothing here touches a file."""
