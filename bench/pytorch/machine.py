"""What this machine can do through PyTorch: matrix products (GFLOP/s) and memory (bytes/s). One JSON line each."""

import torch
from measure import DTYPES, options, report, start, timed

# [rows x inner] x [inner x columns]
PRODUCTS = [(2048, 896, 4864), (2048, 2048, 2048), (2048, 256, 1024), (32, 256, 1024), (256, 896, 151936)]
GIB = 1 << 30


def main():
    args = options(__doc__, warmup=2, runs=7).parse_args()
    start(args)
    dtype = DTYPES[args.dtype]
    for rows, inner, columns in PRODUCTS:
        x = torch.randn(rows, inner).to(dtype)
        weight = torch.randn(columns, inner).to(dtype)  # [out, in] as nn.Linear keeps it
        operations = 2 * rows * inner * columns
        repeat = max(1, int(4e9 / operations))

        def product():
            for _ in range(repeat):
                torch.nn.functional.linear(x, weight)

        seconds = [s / repeat for s in timed(product, args)]
        gflops = operations / sorted(seconds)[len(seconds) // 2] / 1e9
        report(f"product/{rows}x{inner}x{columns}/{args.dtype}", seconds, gflop_per_s=gflops)

    big, copy = torch.ones(GIB // 4), torch.ones(GIB // 4)
    row = torch.ones(8192)
    for name, run, moved in (
        ("read", lambda: torch.mv(big.view(-1, 8192), row), GIB),
        ("copy", lambda: copy.copy_(big), 2 * GIB),
    ):
        seconds = timed(run, args)
        report(f"memory/{name}", seconds, bytes_per_s=moved / sorted(seconds)[len(seconds) // 2])


if __name__ == "__main__":
    main()
