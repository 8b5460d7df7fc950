"""An untrusted SavedModel has a symbolic link among its assets, to one of your files.

A copy of the model that follows the link would contain your file, and might be published with it.
"""

from pathlib import Path

import tensorflow as tf
from shell import ckpttool

tf1 = tf.compat.v1
Path("words.txt").write_text("yes\nno\n")
with tf1.Graph().as_default(), tf1.Session() as session:
    word = tf1.placeholder(tf.string, (None,), name="word")
    line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    words = tf.lookup.TextFileInitializer("words.txt", tf.string, line, tf.int64, number)
    weight = tf.gather(
        tf1.get_variable("weights", (2,)), tf.lookup.StaticHashTable(words, 0).lookup(word), name="weight"
    )
    session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
    tf1.saved_model.simple_save(session, "saved", {"word": word}, {"weight": weight})

Path("secret.txt").write_text("your key")
Path("saved/assets/words.txt").unlink()
Path("saved/assets/words.txt").symlink_to("../../secret.txt")
ckpttool("scan saved")
ckpttool("export-saved-model saved --outputs weight -o copy")
print("there is a copy:", Path("copy").exists())
