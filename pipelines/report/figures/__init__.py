"""Figures as inline SVG, built as XML trees so every name is escaped and every figure well-formed."""
