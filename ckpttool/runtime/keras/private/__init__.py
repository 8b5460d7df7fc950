"""What ckpttool needs of Keras's private parts: `keras.src`, and methods whose names begin with `_`, in one place.

`tests/runtime/keras/private` tests what each function needs. When a version of Keras changes one, that test fails, and
the place to mend it is here.
"""
