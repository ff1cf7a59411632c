{{/* The settings that follow from the chart's own values. */}}
{{- define "pai-image-gateway.implied" -}}
{{- $folder := "/etc/pai-image-gateway" }}
listen:
  address: {{ printf "0.0.0.0:%d" (int .Values.ports.data) }}
  {{- if .Values.tls.enabled }}
  tls:
    cert_file: {{ $folder }}/tls/tls.crt
    key_file: {{ $folder }}/tls/tls.key
    {{- if .Values.tls.clientCertificates }}
    client_ca_file: {{ $folder }}/tls/ca.crt
    {{- end }}
  {{- end }}
observe:
  address: {{ printf "0.0.0.0:%d" (int .Values.ports.observe) }}
{{- if .Values.admin.existingSecret }}
admin:
  token_file: {{ $folder }}/admin/token
{{- end }}
auth:
  mode: required
  clients_file: {{ $folder }}/clients/clients.toml
  {{- with .Values.serviceAccounts }}
  {{- if .issuer }}
  kubernetes:
    issuer: {{ .issuer | quote }}
    audience: {{ .audience | quote }}
    jwks_url: {{ .jwksUrl | quote }}
    {{- if .apiServer }}
    ca_file: /var/run/secrets/api-server/ca.crt
    token_file: /var/run/secrets/api-server/token
    {{- end }}
  {{- end }}
  {{- end }}
{{- if .Values.rrsa.enabled }}
credentials:
  source: oidc
{{- else if .Values.credentials.existingSecret }}
credentials:
  source: static
  access_key_id_file: {{ $folder }}/credentials/access-key-id
  access_key_secret_file: {{ $folder }}/credentials/access-key-secret
{{- end }}
{{- with .Values.sharedCache }}
{{- if .url }}
shared_cache:
  url: {{ .url | quote }}
  cluster: {{ .cluster }}
  {{- with .username }}
  username: {{ . | quote }}
  {{- end }}
  {{- if .existingSecret }}
  password_file: {{ $folder }}/shared-cache/password
  {{- end }}
  {{- if .privateAuthority }}
  ca_file: {{ $folder }}/shared-cache/ca.crt
  {{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* A TOML table and its nested tables: [name, settings]. Values are written as JSON, which TOML
     reads alike for what settings are made of; toToml would write whole numbers as fractions. */}}
{{- define "pai-image-gateway.table" -}}
{{- $name := first . -}}
{{- $settings := last . -}}
[{{ $name }}]
{{- range $key, $value := $settings }}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value)) }}
{{ $key }} = {{ toRawJson $value }}
{{- end }}
{{- end }}
{{- range $key, $value := $settings }}
{{- if kindIs "map" $value }}

{{ include "pai-image-gateway.table" (list (printf "%s.%s" $name $key) $value) }}
{{- end }}
{{- end }}
{{- end }}

{{/* The gateway's settings file. */}}
{{- define "pai-image-gateway.settings" -}}
{{- $implied := include "pai-image-gateway.implied" . | fromYaml }}
{{- range $name, $settings := mergeOverwrite $implied (deepCopy .Values.config) }}
{{- if kindIs "map" $settings }}
{{ include "pai-image-gateway.table" (list $name $settings) }}
{{ end }}
{{- end }}
{{- end }}
