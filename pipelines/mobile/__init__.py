"""What an artifact for a device costs and gives: size, accuracy, speed, memory; which one to ship."""
