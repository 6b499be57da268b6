"""What an artifact for a device costs and still knows: size, accuracy, speed, memory; which one to ship."""
