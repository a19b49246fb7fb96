# One image for all functions: siltstone and functions, and nothing of the CDK. Each function names its handler as CMD.
# The base has the Python that the tests run on.
ARG BASE_IMAGE=public.ecr.aws/lambda/python:3.11

FROM ${BASE_IMAGE} AS build
WORKDIR /build
COPY functions/requirements.txt ./
RUN python3 -m pip install --no-cache-dir --require-hashes --target packages -r requirements.txt
COPY core/siltstone code/siltstone
COPY functions code/functions
# Lambda runs as a user without rights and mounts the image read-only: compiled now, or at every cold start.
RUN python3 -m compileall -q code && chmod -R a+rX packages code

FROM ${BASE_IMAGE}
WORKDIR /var/task
# Two layers: a change of the code does not move the packages.
COPY --from=build /build/packages ./
COPY --from=build /build/code ./
CMD ["functions.query.handler"]
