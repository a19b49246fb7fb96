# One image for all functions: siltstone and functions, and nothing of the CDK. Each function names its handler as CMD.
# Debian's Python with Lambda's runtime client, not AWS's python:3.11: that is Amazon Linux 2, whose glibc (2.26) none of
# the locked wheels of numpy and pyarrow run on, and whose sqlite (3.7) chromadb refuses.
ARG BASE_IMAGE=public.ecr.aws/docker/library/python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
WORKDIR /build
COPY functions/requirements.txt ./
RUN python3 -m pip install --no-cache-dir --require-hashes --only-binary :all: --target packages -r requirements.txt
COPY core/siltstone code/siltstone
COPY functions code/functions
# Lambda runs as a user without rights and mounts the image read-only: compiled now, or again at every cold start.
RUN python3 -m compileall -q code && chmod -R a+rX packages code

FROM ${BASE_IMAGE}
WORKDIR /var/task
ENV PYTHONPATH=/var/task
# Two layers: a change of the code does not move the packages.
COPY --from=build /build/packages ./
COPY --from=build /build/code ./
ENTRYPOINT ["python3", "-m", "awslambdaric"]
CMD ["functions.query.handler"]
