"""The devices on which TensorFlow computes."""

from ckpttool.runtime.configure import tensorflow


def devices() -> list[str]:
    """Return the devices by their names, a processor before graphics cards, as TensorFlow finds them.

    Raises:
        MissingDependency: TensorFlow is not installed.
    """
    config = tensorflow().config
    found = []
    for each in config.list_physical_devices():
        details = config.experimental.get_device_details(each)
        named = details.get("device_name")
        found.append(each.name.removeprefix("/physical_device:") + (f" ({named})" if named else ""))
    return found
