# pea in a container: the wheel of this checkout with the releases of constraints.txt.
#
#   docker build --tag pea .
#   docker run --rm --volume "$PWD:/data" pea segment images --model bbbc039 --output results
#
# For NVIDIA GPUs, build with --build-arg TORCH_INDEX=https://pypi.org/simple and run with --gpus all.

FROM python:3.12-slim AS wheel
WORKDIR /source
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY pixel_embedded_affinity ./pixel_embedded_affinity
RUN python -m pip wheel --no-deps --wheel-dir /wheel .

FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt /constraints.txt
COPY --from=wheel /wheel /wheel
RUN python -m pip install --no-cache-dir --constraint /constraints.txt --extra-index-url "$TORCH_INDEX" \
    "$(echo /wheel/*.whl)[imagej,torch,zarr]"
WORKDIR /data
ENTRYPOINT ["pea"]
