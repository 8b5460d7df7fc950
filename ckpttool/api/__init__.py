"""The commands as functions of the same names: models and data in any form, keywords for options, one verb each."""
