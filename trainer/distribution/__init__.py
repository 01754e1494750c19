"""Training on several devices or hosts, and numeric precision; results do not depend on the number of devices.

--batch_size is the global batch: the patches of one step, however many devices share them. Each step's batch is the
one that a single device would have, dealt in equal rows to the devices, so that losses, learning rates and epochs are
those of a single device (dropout draws other masks). The learning rate is not scaled.

One device, and everything on JAX, is trained by Keras' `fit`; several devices under TensorFlow by `loop.Loop`, as `fit`
gives the mean loss of every device the same weight, which is wrong for the last, smaller batch of an epoch, and fails
altogether on several hosts.
"""
