# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY . .
# The caches live outside the layers, so the binary is copied out of them in the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --profile dist --bin rejoinder \
    && cp target/dist/rejoinder /rejoinder

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin rejoinder \
    && install --directory --owner=rejoinder --group=rejoinder --mode=0700 /data
COPY --from=build /rejoinder /usr/local/bin/rejoinder

USER rejoinder
WORKDIR /data
ENV REJOINDER_LISTEN=0.0.0.0:8080 \
    REJOINDER_DATA_DIR=/data
VOLUME /data
EXPOSE 8080
# No shell, so that the server itself receives SIGTERM and can finish its turns.
ENTRYPOINT ["rejoinder"]
CMD ["serve"]
