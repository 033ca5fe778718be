"""Operations: what keeps the parts going, and says how things stand."""
