"""All uses of Keras's private API (`keras.src`, and methods whose names begin with `_`), in one place.

`tests/runtime/keras/private` tests what each function needs. If a version of Keras changes it, that test fails, and the
fix belongs here.
"""
