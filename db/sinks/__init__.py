"""Where forecasts go besides our own table: SQL tables of others, in star form, named in a TOML file that the operator writes.

`catalogue` reads the file, `star` says what a row holds, `writer` puts rows into a sink and says whether it could.
"""
