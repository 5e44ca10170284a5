"""What plays the devices' part: meter files and a synthetic fleet, signed and sent."""
