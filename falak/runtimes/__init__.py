"""What runs capsules: one runtime a kind of capsule, all behind one protocol."""
