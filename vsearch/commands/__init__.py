"""The commands about one model: caption, label, translate; and what the commands of all packages share."""
