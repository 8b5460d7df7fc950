"""A model writes a file when it is evaluated.

The logits have a control dependency on a WriteFile op, so TensorFlow writes the file whenever they are computed. Before
TensorFlow sees a graph, its ops are compared with a list of ops without side effects.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
from shell import ckpttool

tf1 = tf.compat.v1
with tf1.Graph().as_default(), tf1.Session() as session:
    x, y = tf1.placeholder(tf.float32, (None, 4), name="X"), tf1.placeholder(tf.int32, (None,), name="y")
    with tf1.variable_scope("outputs"), tf.control_dependencies([tf.io.write_file("stolen.txt", "data", name="hello")]):
        logits = tf.matmul(x, tf1.get_variable("kernel", (4, 3)), name="logits")
    tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits), name="loss")
    session.run(tf1.global_variables_initializer())
    tf1.train.Saver().save(session, "./model.ckpt")
np.savez("data.npz", x_test=np.ones((6, 4), "f"), y_test=np.arange(6) % 3)

ckpttool("scan model.ckpt")
ckpttool("evaluate model.ckpt --data data.npz")
print("stolen.txt is there:", Path("stolen.txt").exists())
