# Debian, with glibc: linux-x64-gnu or linux-arm64-gnu, whichever the image is for. Nothing is compiled, so that one stage is enough.
FROM node:24-slim
ENV NODE_ENV=production
# The package trusts the system's certificates, which slim images come without; the list that Node has within itself is Node's alone.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts && npm cache clean --force
COPY server.mjs ./
USER node
EXPOSE 8080
CMD ["node", "server.mjs"]
