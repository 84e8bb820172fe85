# syntax=docker/dockerfile:1
# polycall on NVIDIA GPUs, with vLLM in process:
#   docker build -t polycall:cuda . && docker run --gpus all --shm-size 8g -p 8000:8000 polycall:cuda --model NAME
# vLLM's own image has a CUDA, a torch and a vLLM that fit each other.
ARG VLLM_VERSION=v0.32.0
FROM vllm/vllm-openai:${VLLM_VERSION}

# An image may come with another user; what is written below belongs to root and is only read later.
USER 0
WORKDIR /opt/polycall
COPY pyproject.toml README.md LICENSE ./
COPY finetune finetune
COPY grammars grammars
COPY serving serving
# The image's torch and vLLM stay as they are, or the installation fails.
# hadolint ignore=DL3013
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -c "from importlib.metadata import version; [print(f'{n}=={version(n)}') for n in ('torch', 'vllm')]" > kept.txt \
    && PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --constraint kept.txt '.[vllm]'

# Any user of the group 0 may run it, as OpenShift does, also one without an entry in /etc/passwd: hence HOME and USER.
RUN mkdir -p /home/polycall /cache /state \
    && chgrp 0 /home/polycall /cache /state \
    && chmod g=u,g+s /home/polycall /cache /state
ENV HOME=/home/polycall \
    USER=polycall \
    LOGNAME=polycall \
    HF_HOME=/cache/huggingface \
    POLYCALL_CACHE=/cache/polycall \
    TORCHINDUCTOR_CACHE_DIR=/cache/torchinductor \
    TRITON_CACHE_DIR=/cache/triton \
    XDG_CACHE_HOME=/cache \
    XDG_STATE_HOME=/state \
    POLYCALL_ENGINE=vllm \
    POLYCALL_HOST=0.0.0.0 \
    POLYCALL_PORT=8000
USER 10001:0
WORKDIR /home/polycall
# Models and what is compiled for them; the journal of turns.
VOLUME ["/cache", "/state"]
EXPOSE 8000
# The first start fetches the model, which may take long.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"POLYCALL_PORT\"]}/health', timeout=4)"]
ENTRYPOINT ["polycall", "serve"]
