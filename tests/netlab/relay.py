"""`python relay.py DEVICE SECONDS`: gives every packet back to the kernel, but later.

Whatever is routed into the TUN device DEVICE comes out of it again SECONDS later, in the order in
which it came: a long line, in which TCP's two ends still talk to each other alone. (A TCP proxy
would acknowledge for the other side.) Prints "ready". TERM: what is under way is delivered at once.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import sys
import time
from collections import deque

TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
MOST_PACKETS = 20_000  # about 30 MB; a longer queue drops what comes, as a line does


def open_device(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return device


def relay(device: int, seconds: float, stop: int) -> None:
    under_way: deque[tuple[float, bytes]] = deque()
    poll = select.poll()
    poll.register(device, select.POLLIN)
    poll.register(stop, select.POLLIN)
    while True:
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            deliver(device, under_way.popleft()[1])
        # Rounded up to the millisecond: rounding down would be a busy wait for the last one.
        wait = int((under_way[0][0] - now) * 1000) + 1 if under_way else None
        for descriptor, _ in poll.poll(wait):
            if descriptor == stop:
                for _, packet in under_way:
                    deliver(device, packet)
                return
            take(device, under_way, seconds)


def take(device: int, under_way: deque[tuple[float, bytes]], seconds: float) -> None:
    while True:
        try:
            packet = os.read(device, 65536)
        except BlockingIOError:
            return
        if len(under_way) < MOST_PACKETS:
            under_way.append((time.monotonic() + seconds, packet))


def deliver(device: int, packet: bytes) -> None:
    try:
        os.write(device, packet)
    except OSError:
        pass  # the device is down, or takes no more: a line that loses one


def main() -> None:
    device = open_device(sys.argv[1])
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing)
    signal.signal(signal.SIGTERM, lambda *_: None)
    print("ready", flush=True)
    relay(device, float(sys.argv[2]), reading)


if __name__ == "__main__":
    main()
