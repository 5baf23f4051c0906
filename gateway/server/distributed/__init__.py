"""Operations that other sources of context take part in (CIM 009 clauses 4.3.6, 5.5, 6.3.17, 6.3.18)."""
