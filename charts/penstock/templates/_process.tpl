{{- define "penstock.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest | quote }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) | quote }}
{{- end }}
{{- end }}

{{- /* The command line of penstock, as a YAML list. */}}
{{- define "penstock.args" -}}
- serve
- {{ printf "--http=%s:8080" .Values.listenAddress | quote }}
- {{ printf "--https=%s:8443" .Values.listenAddress | quote }}
- {{ printf "--admin=%s:9090" .Values.listenAddress | quote }}
- --config=/etc/penstock/config.yaml
{{- if .Values.workers }}
- {{ printf "--workers=%d" (int .Values.workers) }}
{{- end }}
{{- range .Values.watchNamespaces }}
- {{ printf "--watch-namespace=%s" . }}
{{- end }}
- {{ printf "--lease-name=%s" (include "penstock.leaseName" .) }}
{{- range .Values.publish.addresses }}
- {{ printf "--publish-address=%s" . | quote }}
{{- end }}
{{- with include "penstock.publishService" . }}
- {{ printf "--publish-service=%s" . }}
{{- end }}
{{- if include "penstock.publishNodes" . }}
- --publish-node-addresses
- {{ printf "--pod-selector=app.kubernetes.io/name=%s,app.kubernetes.io/instance=%s" (include "penstock.name" .) .Release.Name }}
{{- end }}
{{- end }}
