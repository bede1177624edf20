# Alpine, with musl: linux-x64-musl or linux-arm64-musl. node_modules are made in an image of the same kind: those of a glibc image have the other addon.
FROM node:24-alpine AS modules
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts

FROM node:24-alpine
ENV NODE_ENV=production
# The package trusts the system's certificates, not the list that Node has within itself.
RUN apk add --no-cache ca-certificates
WORKDIR /app
COPY --from=modules /app/node_modules ./node_modules
COPY package.json server.mjs ./
USER node
EXPOSE 8080
CMD ["node", "server.mjs"]
